"""The adaptive controller: what moves loss weights, gradient clip and learning rate while a run trains."""
