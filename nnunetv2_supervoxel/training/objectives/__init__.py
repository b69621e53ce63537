"""What a training can ask of the network, one file each."""
