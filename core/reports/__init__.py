"""The parts of self-contained HTML reports, for all tiers: the page, the table and the plot."""
