"""Turns an AWS account and bare machines into a fleet: the CloudFormation stack, the machine images, the units."""
