"""The figures on the README's page, measured: `python -m bench`, or one group of them: `python -m bench foundation`."""
