"""Self-contained HTML reports: the page, the table and the plot that every tier's reports are made of."""
