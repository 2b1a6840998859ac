"""The overview: who is active, what runs, what went wrong in the last day, and what is next.

`queries` asks the database, `page` puts it into words, `strips` and `charts` into pictures.
"""
