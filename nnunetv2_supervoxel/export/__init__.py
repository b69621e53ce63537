"""What training is for: models for nnInteractive's session, weights for nnU-Net's fine-tuning, prompted predictions."""
