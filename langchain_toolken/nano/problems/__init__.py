"""Word problems with worked answers, generated from templates; nano is pre-trained on them and asked them."""
