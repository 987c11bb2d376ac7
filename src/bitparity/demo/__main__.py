"""Builder of the demo's checkpoints: `python -m bitparity.demo bf16` prints the folder of that variant."""

from bitparity.demo.study import main

if __name__ == "__main__":
    main()
