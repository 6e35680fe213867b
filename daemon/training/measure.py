"""What a classifier's logits are worth: probabilities, calibration, confusion. Needs numpy alone."""
import numpy as np

# Equal shares of the confidence's range, as in Guo et al. 2017.
BINS = 15
# Within which the temperature is looked for.
TEMPERATURES = (0.05, 20.0)


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean negative logarithm of what each right class got."""
    return -np.log(probabilities[np.arange(len(labels)), labels]).mean()


def best_temperature(logits: np.ndarray, labels: np.ndarray, doubt: float = 0.0) -> float:
    """The one with the least negative log-likelihood (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    `doubt` is how probable each label is to be wrong. Without some, few images that are all right would
    make every answer certain.
    """
    logits = logits.astype(np.float64)
    other = doubt / (logits.shape[1] - 1)
    wanted = np.full(logits.shape, other)
    wanted[np.arange(len(labels)), labels] = 1 - doubt
    right = (wanted * logits).sum(1)
    # The likelihood is convex in 1 / temperature: its slope changes sign once.
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(60):
        sharpness = (low + high) / 2
        slope = ((softmax(logits * sharpness) * logits).sum(1) - right).mean()
        low, high = (low, sharpness) if slope > 0 else (sharpness, high)
    return 2 / (low + high)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: mean distance of confidence and accuracy, weighted by bin."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    distance = 0.0
    for one in range(BINS):
        of = which == one
        if of.any():
            distance += of.mean() * abs(confidence[of].mean() - right[of].mean())
    return distance


def confusion(labels: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    """How often each class (row) was taken for each (column)."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, said), 1)
    return counts


def picture(counts: np.ndarray, labels: tuple[str, ...]) -> str:
    """The confusion matrix as SVG: rows are what it is, columns what the model says."""
    cell, left, top = 44, 96, 96
    side = cell * len(labels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + side + 8}" height="{top + side + 8}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{left + side + 8}" height="{top + side + 8}" fill="#ffffff"/>',
    ]
    for at, label in enumerate(map(escaped, labels)):
        middle = at * cell + cell / 2
        parts.append(f'<text x="{left - 6}" y="{top + middle + 4}" text-anchor="end">{label}</text>')
        across, above = left + middle, top - 8
        parts.append(f'<text transform="translate({across},{above}) rotate(-45)">{label}</text>')
    for row in range(len(labels)):
        for column in range(len(labels)):
            count = int(counts[row, column])
            share = count / counts[row].sum()
            hue = "33,110,57" if row == column else "176,42,42"
            # Mistakes are few: without the root all of them would look white.
            strength = share if row == column else min(1.0, share**0.5 * 2)
            x, y = left + column * cell, top + row * cell
            ink = "#ffffff" if strength > 0.55 else "#1a1a1a"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" fill="rgb({hue})"'
                f' fill-opacity="{strength:.2f}" stroke="#dddddd"/>'
            )
            parts.append(
                f'<text x="{x + cell / 2}" y="{y + cell / 2 + 4}" text-anchor="middle"'
                f' fill="{ink}">{count}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


def escaped(label: str) -> str:
    return label.replace("&", "&amp;").replace("<", "&lt;")
