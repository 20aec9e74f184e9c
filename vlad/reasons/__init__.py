"""Why an image is anomalous: its regions, and what the head says about each."""

from vlad.reasons.explain import explain
from vlad.reasons.explanation import ExplainedRegion, Explanation

__all__ = ["ExplainedRegion", "Explanation", "explain"]
