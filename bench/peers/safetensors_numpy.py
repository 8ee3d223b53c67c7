"""safetensors.numpy.load_file of a whole file."""

import numpy
import safetensors
from measure import main
from safetensors.numpy import load_file

main(f"safetensors {safetensors.__version__} load_file (numpy {numpy.__version__})", load_file)
