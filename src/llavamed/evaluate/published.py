"""Scores as LLaVA-Med's authors published them (arXiv 2306.00890): open recall and closed accuracy, by paper rules."""

SOURCE = "arXiv 2306.00890"
# Test questions that they are of: open, closed.
SIZES = {"VQA-RAD": (179, 272), "SLAKE": (645, 416), "PathVQA": (3370, 3391)}
FINE_TUNED = {
    "LLaVA, fine-tuned": ((50.00, 65.07), (78.18, 63.22), (7.74, 63.20)),
    "LLaVA-Med from LLaVA, fine-tuned": ((61.52, 84.19), (83.08, 85.34), (37.95, 91.21)),
    "LLaVA-Med from Vicuna, fine-tuned": ((64.39, 81.98), (84.71, 83.17), (38.87, 91.65)),
    "LLaVA-Med with BiomedCLIP, fine-tuned": ((64.75, 83.09), (87.11, 86.78), (39.60, 91.09)),
}
ZERO_SHOT = {
    "LLaVA, zero-shot": ((20.74, 59.19), (26.82, 50.24), (8.74, 45.65)),
    "LLaVA-Med 60K-IM, zero-shot": ((28.23, 61.40), (39.17, 52.16), (12.30, 54.05)),
    "LLaVA-Med 60K-IM with BiomedCLIP, zero-shot": ((37.84, 60.66), (39.73, 54.33), (11.65, 49.07)),
}


def rows(benchmark: str) -> list[tuple[str, float, float]]:
    """(model, open recall, closed accuracy) in per cent; none for another benchmark."""
    if benchmark not in SIZES:
        return []
    place = list(SIZES).index(benchmark)
    return [(name, *scores[place]) for name, scores in (ZERO_SHOT | FINE_TUNED).items()]
