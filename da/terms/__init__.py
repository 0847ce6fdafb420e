"""Terms: the summands of the objective. Each reads one `Step` and returns a scalar."""
