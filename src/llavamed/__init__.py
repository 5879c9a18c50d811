"""From open biomedical articles to a vision-language assistant."""

__version__ = "0.1.0"
