"""Tables within documents."""
import pathlib


def put_between(document: pathlib.Path, begin: str, end: str, text: str) -> None:
    """Puts the text between two markers. Raises ValueError where the document has not both."""
    before, found, rest = document.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{document} has no line {begin} with {end} after it")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")
