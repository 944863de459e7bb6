"""How spans of time are shown where there is little room: ``350us``, ``12ms``, ``1.5s``, ``4m05s``, ``3h20m``, ``2d``.

Owns that form. How users write them is times.py's.
"""

__all__ = ["span"]


def span(seconds: float) -> str:
    """A span of time in six characters at most, up to 10,000 days."""
    if seconds < 0.001:
        return f"{max(seconds, 0.0) * 1e6:.0f}us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f}ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 48 else f"{hours // 24}d"
