"""Train, evaluate and publish taggers: `data` → `fit` → `evaluate` → `publish`, here or on SageMaker."""
