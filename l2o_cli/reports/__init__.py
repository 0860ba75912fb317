"""Pages, pictures and tables, made from the files of results folders."""
