"""Articles to figures with captions, inline mentions, kind of image, licence and split."""
