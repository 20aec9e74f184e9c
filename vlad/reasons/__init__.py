"""Why an image is anomalous: its regions, and what the head says about each."""

from vlad.reasons.explain import explain
from vlad.reasons.explanation import ExplainedRegion, Explanation
from vlad.reasons.say import say

__all__ = ["ExplainedRegion", "Explanation", "explain", "say"]
