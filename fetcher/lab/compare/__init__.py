"""Comparison of concurrency models: one workload on every model that can do it, side by side.

`workloads` is the table of workloads, and their code; `runner` runs each model in a child process
(`child_runner`, for HTTP a `latency_server`) and makes medians of its rounds, `verdicts` and `url_verdicts`
make sentences, `pictures` draw. In the children, `drivers` run `steps`, `meter` and `tracing` watch.
"""
