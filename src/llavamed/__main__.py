"""`python -m llavamed`, which is how `torchrun -m llavamed` starts it."""

from llavamed.cli import main

if __name__ == "__main__":
    main()
