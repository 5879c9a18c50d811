"""Conversations in other people's files: read into a set, and written out of one.

A layout (`layout.py`) turns one record of a file into what our table holds, and back: `llava.py`, `messages.py`, and
`chat_eval.py` for the files of the published chat evaluation. What a record has besides is kept beside it (`rest.py`),
so that a set that was imported is exported as it was. `importing.py` reads files, `exporting.py` writes them.
"""
