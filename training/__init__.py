"""From labelled images to a published model: reading, checking, splitting, training, evaluating."""
