"""Fine-tune Florence-2 with LoRA."""
