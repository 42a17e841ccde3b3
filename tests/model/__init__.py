"""Every small story, tried out: a model of all states whose processor is the product's own core. See docs/model.md."""
