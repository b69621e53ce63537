"""What a trained model is used for: nnInteractive's session, nnU-Net's fine-tuning, prompted predictions."""
