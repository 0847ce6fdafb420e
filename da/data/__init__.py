"""Source and target data as named streams of batches."""
