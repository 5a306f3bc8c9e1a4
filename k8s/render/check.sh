# Checks what a Job needs besides its chips. 42 is the runner's exit code for a wrong configuration.
fail() { echo "check: $1" >&2; exit 42; }
for python in $SERVER_PYTHONS; do
  "$python" -c 'import sgl_jax' || fail "the image has no $python with sglang-jax"
done
for model in $MODEL_PATHS; do
  case $model in
    /*) [ -e "$model/config.json" ] || fail "the models bucket has no $model/config.json" ;;
    *) "$python" -c 'import sys, huggingface_hub; huggingface_hub.hf_hub_download(sys.argv[1], "config.json")' "$model" \
         || fail "Hugging Face does not give $model: its name, or the token in the Secret, is wrong" ;;
  esac
done
mkdir -p /results/checks && : > "/results/checks/$RUN_NAME" || fail "the results bucket cannot be written"
echo "check: image, buckets, model and interpreters are usable"
