"""Speed and memory of one model under several engines, each in a process of its own.

`run` starts the processes in turn and collects their samples, `worker` is what runs in them,
`report` turns the result into text. Imports of torch stay inside `worker` and what it loads.
"""
