"""What came of the scenarios: as results, as a verdict on them, as JSON, as a table and as a page."""
