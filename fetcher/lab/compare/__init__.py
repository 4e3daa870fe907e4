"""The laboratory of concurrency models: one job on every model that can do it, side by side.

`figures` is the data, `catalogue` the workloads and their models, `conduct` runs each in a child process
of its own (`child`, and for HTTP a `server`), `rows` makes medians of what they measured, and
`conclusions` says what the figures mean. `workloads/` is what runs in the children: most are `scripts`
played by the drivers of `models`.
"""
