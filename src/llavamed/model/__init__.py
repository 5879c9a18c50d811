"""Vision tower, projector and language model, as one Hugging Face LLaVA checkpoint."""
