"""Arms: the backend protocol, a fake and a simulated one."""
