"""Files of one modality, read into tensors."""
