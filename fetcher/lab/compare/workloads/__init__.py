"""What runs in a child, one module for each workload: `run(job)` measures one model, once."""
