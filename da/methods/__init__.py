"""Methods: who updates which parameters, with which loss, when."""
