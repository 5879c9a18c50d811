"""The card of a data set."""

import yaml

from llavamed.cards import dataset_card


def front(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_splits_that_exist_are_named_in_order_and_nothing_else_is_loaded():
    card = dataset_card('Figures: "A"', "Some text.", ["test", "train"])
    assert front(card)["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "data/train-*.parquet"},
                {"split": "test", "path": "data/test-*.parquet"},
            ],
        }
    ]
    assert card.endswith('# Figures: "A"\n\nSome text.\n')


def test_no_split_no_data_files():
    assert front(dataset_card("Nothing kept", "", [])) == {"pretty_name": "Nothing kept"}
