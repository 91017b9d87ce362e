"""`pulpit fire` and `pulpit tail`: events into the log of a server, and out of it, over HTTP."""
