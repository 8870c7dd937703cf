"""Other engines, as `tinychat.bench` sees one."""
