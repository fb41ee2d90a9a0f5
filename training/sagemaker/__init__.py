"""Run a training as an AWS SageMaker job."""
