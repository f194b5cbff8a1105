"""What a change of rules would have done to recorded history: alerts added, lost and moved."""

from rules.backtest.compare import Comparison, Moved, compare
from rules.backtest.episode import Episode, Episodes
from rules.backtest.picture import picture

__all__ = ["Comparison", "Episode", "Episodes", "Moved", "compare", "picture"]
