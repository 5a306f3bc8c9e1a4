# Checks what a Job needs besides its chips. 42 is the runner's exit code for a wrong configuration.
fail() { echo "check: $1" >&2; exit 42; }
case $MODEL_PATH in
  /*) [ -e "$MODEL_PATH/config.json" ] || fail "the models bucket has no $MODEL_PATH/config.json" ;;
esac
mkdir -p /results/checks && : > "/results/checks/$RUN_NAME" || fail "the results bucket cannot be written"
for python in $SERVER_PYTHONS; do
  "$python" -c 'import sgl_jax' || fail "the image has no $python with sglang-jax"
done
echo "check: image, buckets, model and interpreters are usable"
