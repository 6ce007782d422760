"""What differs between images and text outside the networks: how a batch is encoded and how samples are shown."""
