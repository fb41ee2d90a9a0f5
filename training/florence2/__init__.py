"""Fine-tune Florence-2 on labelled boxes or captions."""
