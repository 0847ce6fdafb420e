"""What comes after the runs: results files read back, intervals over seeds, tables and figures."""
