"""Train on SageMaker: create and follow jobs, and the program that runs in their container."""
