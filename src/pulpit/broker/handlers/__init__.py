"""What each method of a channel does, one file per class of methods; `table` puts them together."""
