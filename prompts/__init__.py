"""Words for the language model: versioned Markdown files and the loader that fills them in."""
