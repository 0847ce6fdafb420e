"""What watches a run: scores and model selection, figures, progress."""
